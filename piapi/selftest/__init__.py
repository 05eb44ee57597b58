"""`piapi selftest`: whether piapi, and what it is attached to, works on this machine.

A check is a function of a `Site` that gives `Result`s, one after the other; `checklist.py` has them in their order. No
check opens a camera or a line: what the service owns is asked of the service, which then has to run.
"""
