"""What goes wrong, injected on purpose; and each guarantee taken out, to see the same check fail.

guarantee                                     tests                       negative control
a text is on disk before its slot is free     kills, signals, power_loss  count-before-writing
lines are synced                              power_loss                  sync-nothing
names are synced                              power_loss                  sync-no-directory
a reservation is durable before its call      kills, power_loss           reserve-nothing, sync-no-ledger
what is recorded is not sent again            kills                       forget-what-is-done
a first signal lets calls land                signals, limits             abort-at-once
a ledger that fails ends the run              ledger_faults               a budget that swallows the error
a call counts in each month it may fall into  clocks                      a month fixed at reservation, no margin
lost calls count                              sharing                     lost calls are voided
one run a workspace                           sharing                     no lock
a full disk lets replies land                 disk                        no-reserve, go-on-when-full
a failed descriptor is not used again         disk                        trust-failed-descriptor, no-rescue
a broken reply is no text, and may be billed  replies                     half texts taken, lost calls not counted
a reply is its own page's                     replies                     the library's own connections
the key goes to no other host                 replies                     redirects followed
a page is read whole or not at all            files, read_errors          no second look, errors passed over
a run that drains waits for nothing else      limits                      wait-for-names, wait-for-threads
faults in a workspace are named               verify                      untouched and killed workspaces are clean
"""
