"""What a person looks at: pictures of masks and class maps, made from arrays alone."""
