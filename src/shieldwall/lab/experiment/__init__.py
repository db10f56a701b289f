"""The seed paper's two tables and two more, from one command each: `shieldwall experiment NAME`.

vulnerability.py defence.py detection.py map.py   an experiment each: its cells, and the page made of them

run.py      what is missing is played, then the page is written
scale.py    tiny, small, gpu
texts.py    training, validation and test text
base.py     models to start from, pretrained on other text
plot.py     one family on one corpus: from here cells are made
cell.py     one training as data, and its outcome
settings.py from a cell to the configuration of its run
play.py     trains a cell with the product and measures it
pool.py     several at once, in processes of their own
store.py    finished cells on the disk
grid.py     all cells, what is finished, the learning rate that was chosen
stopping.py numbers.py results.py claims.py paper.py page.py pictures.py record.py    from outcomes to a page
"""
