"""The review page: look at the masks of a run, judge them, mend them, and take them away as a clean data set."""
