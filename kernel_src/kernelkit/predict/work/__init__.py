"""Work, the first half of a run: what becomes of each image goes into the store.

`work` chooses one of two lanes. `tiled` predicts images tile by tile. `image_tiles` are the tiles
of one, `image` asks about them, and `stitching` makes masks or layers of the answers. `whole`
predicts whole pictures in batches that cross them. `whole_batch` is such a batch, and
`whole_picture` one picture of it.

Both lanes share the rest. `survey` opens images before the first tile, and `tasks` lists what is to
be done. `keys` says where a result belongs in the store. `pace` asks less if the time runs short,
and `progress` is the bar. `ahead` reads one batch ahead. `nodata` finds pixels that are background
whatever the networks say, and `regions` the tiles that lie where one is to look.
"""
