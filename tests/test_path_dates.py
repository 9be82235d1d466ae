"""Dates in the names of files and folders, and what only looks like one."""

from __future__ import annotations

import pytest

from photoage.photos.path_dates import date_of_name, dates_of_folders

NAMES = {
    "IMG_20120304_101112.jpg": "2012-03-04T10:11:12",
    "20120304_101112.jpg": "2012-03-04T10:11:12",
    "2012-03-04 10.11.12.jpg": "2012-03-04T10:11:12",
    "2012-03-04 10.11.12-1.jpg": "2012-03-04T10:11:12",
    "PXL_20210304_101112345.jpg": "2021-03-04T10:11:12",
    "PXL_20210304_101112345.MP.jpg": "2021-03-04T10:11:12",
    "PXL_20210304_101112345.PORTRAIT-01.COVER.jpg": "2021-03-04T10:11:12",
    "VID_20120304_101112.jpg": "2012-03-04T10:11:12",
    "signal-2012-03-04-101112.jpg": "2012-03-04T10:11:12",
    "signal-2012-03-04-10-11-12-123.jpg": "2012-03-04T10:11:12",
    "signal-2012-03-04-10-11-12-123-1.jpg": "2012-03-04T10:11:12",
    "WhatsApp Image 2019-01-02 at 10.11.12.jpeg": "2019-01-02",
    "WhatsApp Image 2019-01-02 at 10.11.12 PM (1).jpeg": "2019-01-02",
    "IMG-20190102-WA0003.jpg": "2019-01-02",
    "Screenshot_20190504-101112.png": "2019-05-04T10:11:12",
    "Screenshot_20190504_101112_Chrome.jpg": "2019-05-04T10:11:12",
    "Screenshot_2019-05-04-10-11-12-123_com.example.png": "2019-05-04T10:11:12",
    "Screenshot 2019-05-04 at 10.11.12.png": "2019-05-04T10:11:12",
    "Screenshot 2019-05-04 at 10.11.12\u202fPM.png": "2019-05-04T22:11:12",
    "Screen Shot 2019-05-04 at 9.11.12 AM.png": "2019-05-04T09:11:12",
    "Bildschirmfoto 2019-05-04 um 10.11.12.png": "2019-05-04T10:11:12",
    "Capture d’écran 2019-05-04 à 10.11.12.png": "2019-05-04T10:11:12",
    "IMG20120304101112.jpg": "2012-03-04T10:11:12",
    "MVIMG_20120304_101112.jpg": "2012-03-04T10:11:12",
    "00100lPORTRAIT_00100_BURST20190504101112345_COVER.jpg": "2019-05-04T10:11:12",
    "photo_2019-05-04_10-11-12.jpg": "2019-05-04T10:11:12",
    "WP_20130504_10_11_12_Pro.jpg": "2013-05-04T10:11:12",
    "WP_20130504_001.jpg": "2013-05-04",
    "P_20120304_101112_BF.jpg": "2012-03-04T10:11:12",
    "IMG_20120304_101112~2.jpg": "2012-03-04T10:11:12",
    "IMG_20120304_101112(1).jpg": "2012-03-04T10:11:12",
    "IMG_20120304_101112-edited.jpg": "2012-03-04T10:11:12",
    "IMG_20120304_256012.jpg": "2012-03-04",
    "20120304.jpg": "2012-03-04",
    "20120304T101112.jpg": "2012-03-04T10:11:12",
    "20120304101112.jpg": "2012-03-04T10:11:12",
    "2012-03-04.jpg": "2012-03-04",
    "2012_03_04 birthday.jpg": "2012-03-04",
    "2012.03.04.jpg": "2012-03-04",
    "2012-03-04_0012.jpg": "2012-03-04",
    "2012-03-04 10.11.jpg": "2012-03-04T10:11",
    "Grandma 1984-06-12.jpg": "1984-06-12",
    "12.06.1984 Grandma.jpg": "1984-06-12",
    "1984-06 Grandma.jpg": "1984-06",
    "1984-06.jpg": "1984-06",
    "1984 Washington 01.jpg": "1984",
    "2019_0102_101112_004.jpg": "2019-01-02T10:11:12",
    "Screenshot_20190102-101112_WhatsApp.jpg": "2019-01-02T10:11:12",
    "Screenshot_2019-01-02-10-11-12-345_com.whatsapp.jpg": "2019-01-02T10:11:12",
    "Grandma 1984.jpg": "1984",
    "Grandma and Grandpa, summer 1984 (2).jpg": "1984",
    "Grandma (1984).jpg": "1984",
    "Wedding May 1984.jpg": "1984-05",
    "Grandma 4 May 1984.jpg": "1984-05-04",
    "Oma, 4. Mai 1984 - 2.jpg": "1984-05-04",
}  # fmt: skip
NOT_NAMES = (
    "IMG_2012.jpg", "IMG_20120.jpg", "DSC02012.JPG", "DSC_1984.jpg", "2012.jpg", "2012_01.jpg",
    "P1011984.JPG",
    "20121080.jpg", "1920x1080.jpg", "wallpaper 2000 x 1200.jpg", "1920 px.png", "IMG_0176-20133.jpg",
    "FB_IMG_1556712345678.jpg", "received_201203041011121.jpeg", "1556712345678.jpg", "491761201203.jpg",
    "10201203_10152030405060708_20120304_n.jpg", "a120120304f.jpg", "3f20120304aabbccddeeff00.jpg",
    "20120304-1234-5678-9abc-def012345678.jpg", "d41d8cd98f00b204e9800998ecf8427e.jpg", "Scan_20190504.jpg",
    "scan0012.jpg", "scanned 2019-05-04.jpg", "1984-1990 family.jpg", "IMG_20121345_101112.jpg",
    "2012-02-30.jpg",
    "portrait.jpg", "image (2012).jpg", "00002012.jpg", "LRM_EXPORT_20190102_101112.jpg",
    "CamScanner 2019-05-04 10.11.jpg", "Scanner_20190504.jpg", "Numérisation_20190504.jpg", "Foto 1984.jpg",
    "img 2012.jpg", "2019_0102_1011.jpg", "IMG_0102 2012.jpg", "Grandma_1984.jpg", "1984 to 1990 Grandma.jpg",
)  # fmt: skip

FOLDERS = {
    "/photos/1984 Washington": "1984",
    "/photos/1984": "1984",
    "/photos/2012-05 Holidays": "2012-05",
    "/photos/2012-05-04 Wedding": "2012-05-04",
    "/photos/2012_05_04": "2012-05-04",
    "/photos/20120504_wedding": "2012-05-04",
    "/photos/201205__": "2012-05",
    "/photos/2012/05/04": "2012-05-04",
    "/photos/2012/05/04/edited": "2012-05-04",
    "/photos/2012/05": "2012-05",
    "/photos/2012/05-04": "2012-05-04",
    "/photos/2012/05 May": "2012-05",
    "/photos/2012/May": "2012-05",
    "/photos/2012/05 Mai": "2012-05",
    "/photos/2012/Holidays": "2012",
    "/photos/2012/14 Holidays": "2012",
    "/photos/2012-05/04": "2012-05-04",
    "/photos/1984 Washington/2012-05 Holidays": "2012-05",
    "/photos/May 2012": "2012-05",
    "/photos/2012 mars": "2012-03",
    "/photos/Summer 1984": "1984",
    "/photos/Takeout/Google Photos/Photos from 2012": "2012",
    "/photos/Fotos von 2012": "2012",
    "/photos/Wedding (2012)": "2012",
    "/photos/04.05.2012 Hochzeit": "2012-05-04",
    "/photos/2011-12 Winter": "2011-12",
    "/photos/1984 à Washington": "1984",
    "/photos/Night out 2012": "2012",
    "/photos/Jan 2012": "2012-01",
    "/photos/4 May 2012": "2012-05-04",
    "/photos/May 4th, 2012": "2012-05-04",
    "/photos/Washington, June 1984": "1984-06",
    "/photos/Washington, 12 June 1984": "1984-06-12",
    "/photos/4 de mayo de 2012": "2012-05-04",
    "/photos/2012-05-04 - 2012-05-10 Rome": "2012-05",
    "/photos/2012-05-30 - 2012-06-02 Rome": "2012",
    "/photos/1985-06 to 1985-08": "1985",
}  # fmt: skip
NOT_FOLDERS = (
    "/photos/1984-1990 Family", "/photos/1984-90", "/photos/1980s", "/photos/100_2012", "/photos/100CANON",
    "/photos/backup 2019", "/photos/2019-05-04 Backup", "/photos/takeout-20210304T101112Z-001",
    "/photos/1920x1080",
    "/photos/DCIM/101APPLE", "/photos/05/04", "/photos/Scans 2019", "/photos/May", "/photos/3012",
    "/photos/1080p", "/photos/2011-12-30 - 2012-01-02 Ski", "/photos/1985-11 to 1986-02",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_tells_its_date(name: str) -> None:
    assert str(date_of_name(name)) == NAMES[name]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_digits_that_are_no_date_are_not_taken_for_one(name: str) -> None:
    assert date_of_name(name) is None


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_nearest_folder_with_a_date_tells_it(folder: str) -> None:
    assert str(next(dates_of_folders(folder), None)) == FOLDERS[folder]


@pytest.mark.parametrize("folder", NOT_FOLDERS)
def test_folders_of_several_years_or_of_copies_tell_no_date(folder: str) -> None:
    assert next(dates_of_folders(folder), None) is None
