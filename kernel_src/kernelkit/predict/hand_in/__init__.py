"""Hand in, the second half of a run: what stores hold becomes submissions and maps.

`hand_in` writes and checks the submissions, and `maps` what lies on the map. `variants` are the
ways in which a recipe makes masks of what is stored. `finished_masks` are made when they are asked
for, each from a `stored_image`, whose layers are merged as `planes`. `merging` does without models.

`postprocess` has the steps on a mask. `crf` is one of them, `seen` is what a step may look at, and
`own_steps` are the user's.
"""
