"""The readers of photographs and benchmarks in files: a folder of one's own, REFER, Flickr30k Entities."""
