"""`correct`: folds a person's corrections into a workspace; no call is made, and the original texts stay."""
