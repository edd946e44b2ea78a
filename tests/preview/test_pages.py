from PIL import ImageFont

from ledcli.preview.pages import TEXT, _fitting


def test_a_sheet_writes_only_letters_that_its_font_has():
    font = ImageFont.load_default(TEXT)
    assert _fitting("Küche_é.CR2\n夜", font, 1000) == "Kuche_e.CR2??"
    cut = _fitting("a long name of a photo.CR2", font, 100)
    assert cut.endswith("...") and font.getlength(cut) <= 100
