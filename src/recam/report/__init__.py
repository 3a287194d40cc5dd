"""What a person looks at: pictures of masks and class maps, made from arrays alone, and the report of a run, made from
its folder."""
