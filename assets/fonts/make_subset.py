"""Makes InterVariable-subset.ttf.  Usage: python make_subset.py Inter-roman.var.ttf OUT.ttf  (needs fonttools)"""
import sys

from fontTools import subset
from fontTools.ttLib import TTFont

font = TTFont(sys.argv[1])

# Tabular figures by default: the digits' cmap entries point at their `tnum` forms.
gsub = font["GSUB"].table
tabular = {}
for record in gsub.FeatureList.FeatureRecord:
    if record.FeatureTag == "tnum":
        for index in record.Feature.LookupListIndex:
            for table in gsub.LookupList.Lookup[index].SubTable:
                tabular.update(getattr(table, "ExtSubTable", table).mapping)
for cmap in font["cmap"].tables:
    for code, glyph in list(cmap.cmap.items()):
        if glyph in tabular and chr(code) in "0123456789+-\u2212":
            cmap.cmap[code] = tabular[glyph]

ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x1E00, 0x1F00), (0x2000, 0x20D0), (0x2100, 0x2700)]
options = subset.Options()
options.layout_features = ["kern", "mark", "mkmk", "ccmp", "locl"]
options.name_IDs = ["*"]
options.notdef_outline = True
options.glyph_names = False
options.hinting = False
subsetter = subset.Subsetter(options)
subsetter.populate(unicodes={code for low, high in ranges for code in range(low, high)})
subsetter.subset(font)
font.save(sys.argv[2])
