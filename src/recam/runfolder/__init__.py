"""What a run has made, as its folder holds it: kept, found and summarised without PyTorch."""
