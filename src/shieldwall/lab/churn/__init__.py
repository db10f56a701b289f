"""A long run whose workers come and go all the time: does anything grow that should not?"""
