"""Time-lapses: when their ticks are due, how they are exposed, and the jobs themselves."""
