"""Fault injection: each guarantee is tested under faults, and removed to see the same test fail.

guarantee                                     tests                       negative control
a text is on disk before its slot is free     kills, signals, power_loss  count-before-writing
lines are synced                              power_loss                  sync-nothing
names are synced                              power_loss                  sync-no-directory
a reservation is durable before its call      kills, power_loss           reserve-nothing, sync-no-ledger
a recorded page is not sent again             kills                       forget-records
a first signal lets calls in flight end       signals, limits             abort-at-once
a ledger that fails ends the run              ledger_faults               a budget that ignores the error
a call counts in each month it may fall into  clocks                      a month fixed at reservation, no margin
lost calls count                              sharing                     void-the-lost
a text is paid for once, whatever edits a file changed_results            check-no-texts
a workspace counts in one ledger              ledger_places               check-no-ledger
one run per workspace                         sharing                     lock-nothing
replies to calls in flight fit on a full disk disk                        no-ballast, ignore-full-disk
a failed descriptor is not used again         failing_disk                trust-failed-descriptor, no-rescue
a broken reply is no text, and may be billed  replies                     half texts taken, lost calls not counted
a reply belongs to its own page               replies                     aiohttp's own connections
the key goes to no other host                 replies                     redirects followed
a limiter's refusal is no failed call         tests/gateways              fail-on-bare-503
a page is read completely or not at all       files, read_errors          no-stability-check, ignore-read-errors
a run that shuts down waits for calls alone   limits, conversions         wait-for-names, wait-for-threads
a decoder costs its own page at most          conversions                 the same page without the fault
faults in a workspace are reported            verify                      intact and killed workspaces are clean
"""
