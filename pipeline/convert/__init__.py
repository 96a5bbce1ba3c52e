"""Worker processes, bounded in time and memory, for work that may crash, hang or exhaust memory.

What is decoded or rendered runs in one of them, because a thread cannot be bounded. `command` starts a module of this
package in another process, `frames` are the messages on its pipes, `child` and `process` are the two ends of the
pipes, `resources` bounds memory, and `pool` lends workers to conversions. The engine's workers use all but `pool`.
"""
