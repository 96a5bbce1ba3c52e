"""What any HTTP server that faces strangers needs: bounds, errors, figures, and a careful client."""
