"""What a run has made, as its folder says it: kept, found and summarised without PyTorch."""
