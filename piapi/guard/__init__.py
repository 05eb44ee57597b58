"""Releases relays when their owner dies. A process of its own: `python -m piapi.guard --socket PATH --chip auto`.

Raspberry Pi OS keeps driving a line whose owner was killed, and to start a Python then would be too slow on a small Pi.
So this runs already. Before it switches on an output that must go off again, the owner leases it here; while the lease
lasts, the guard sets the line to its inactive level

- when the owner's connection ends (the kernel closes it when the owner is killed), and
- when the lease is overdue, as that of an owner which is stopped or hangs.

In either case the owner is ended first (SIGKILL; mostly it is dead already), so that nobody drives the line back.

Messages are lines of JSON over a Unix socket, each answered with {"ok": true} or {"error": "why"}:

    {"do": "hello", "lines": "chip auto"}                            refused by a guard of other lines
    {"do": "lease", "line": 17, "inactive": false, "for_s": 0.5}     renewed by leasing again
    {"do": "end", "line": 17}                                        after it is off
    {"do": "bye"}                                                    before going, with no lease left

The standard library alone, one thread, few allocations. A fault in here opens a garage: keep it small.
"""
