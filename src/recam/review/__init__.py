"""The review page: view the masks of a run, judge and edit them, and export them as a clean data set."""
