"""`make new`: a competition of one's own, begun from a shape or from a look at its folder."""
