"""GPIO lines without a library: what the guard and the boards share. Nothing in here imports anything heavy."""
