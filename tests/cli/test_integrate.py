"""`led integrate`, and the plug-in that it installs."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ledcli.cli.app import run
from ledcli.cli.integrate import LINE

SCRIPT = Path(__file__).parents[2] / "contrib" / "darktable" / "led.lua"
LUA = next(filter(None, map(shutil.which, ("lua5.4", "lua5.3", "lua"))), None)
needs_lua = pytest.mark.skipif(LUA is None, reason="Lua is not installed")


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    folder = tmp_path / "darktable"
    folder.mkdir()
    return folder


def test_installs_into_darktables_folder_once(config, capsys):
    assert run(["integrate", "darktable", "--quiet"]) == 0
    assert capsys.readouterr().out.count(": new\n") == 2
    script, luarc = (config / "lua" / "led.lua").read_text(), config / "luarc"
    assert luarc.read_bytes() == LINE
    assert 'local PROGRAM = {"led"}' not in script
    assert script.count("local PROGRAM = {") == 1
    assert '"-P", "-m", "ledcli"}' in script
    assert run(["integrate", "darktable", "--quiet", "--json"]) == 0
    records = map(json.loads, capsys.readouterr().out.splitlines())
    assert [record["status"] for record in records] == ["unchanged", "unchanged"]
    assert luarc.read_bytes() == LINE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            b'require "x"\r\n\xff return {\n a = 1 }',
            LINE + b'require "x"\r\n\xff return {\n a = 1 }',
        ),
        (b"#!/usr/bin/lua\n-- require 'led'", b"#!/usr/bin/lua\n" + LINE + b"-- require 'led'"),
        (b"\xef\xbb\xbf-- mine", b"\xef\xbb\xbf" + LINE + b"-- mine"),
        (b"#", b"#\n" + LINE),
    ],
)
def test_keeps_every_byte_of_a_luarc_and_its_mode(config, before, after):
    luarc, elsewhere = config / "luarc", config / "dotfiles"
    elsewhere.write_bytes(before)
    elsewhere.chmod(0o640)
    luarc.symlink_to(elsewhere)
    assert run(["integrate", "darktable", "--dry-run"]) == 0
    assert luarc.read_bytes() == before
    assert not (config / "lua").exists()
    assert run(["integrate", "darktable"]) == 0
    assert luarc.is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640
    assert elsewhere.read_bytes() == after


def test_a_luarc_that_loads_the_plugin_stays(config):
    luarc = config / "luarc"
    luarc.write_text("x = 1\n  local led = require('led') -- mine\n")
    assert run(["integrate", "darktable"]) == 0
    assert luarc.read_text() == "x = 1\n  local led = require('led') -- mine\n"


def test_refuses_to_replace_another_script(config, capsys):
    (config / "lua").mkdir()
    (config / "lua" / "led.lua").write_text("-- light emitting diodes")
    assert run(["integrate", "darktable"]) == 1
    assert "led.lua" in capsys.readouterr().err
    assert not (config / "luarc").exists()


def test_says_that_darktable_has_no_folder(tmp_path, capsys):
    assert run(["integrate", "darktable", "--config", str(tmp_path / "none")]) == 2
    assert "--config" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("luac"), reason="luac is not installed")
def test_the_installed_script_is_lua(config):
    assert run(["integrate", "darktable"]) == 0
    for file in (config / "lua" / "led.lua", config / "luarc"):
        subprocess.run(["luac", "-p", file], check=True)


# What the script needs of darktable; `log` gets what it does to the library.
DARKTABLE = r"""
local log = io.open(os.getenv("LOG"), "wb")
local function nothing() end
local job = setmetatable({}, {__newindex = function(_, key, value) print(key, value) end})
local function new_image(path)
  return {
    path = path:match("(.*)/"), filename = path:match("[^/]*$"), film = {}, rating = 0, title = "",
    description = "", creator = "", publisher = "", rights = "", notes = "", tags = {},
    group_with = function(self, other)
      log:write(self.filename, "\0", other.filename, "\0", self.rating, "\0", self.title, "\0",
        tostring(self.red), "\0", self.latitude, "\0", table.concat(self.tags, ","), "\0")
      log:flush()
    end,
  }
end
package.loaded.darktable = {
  configuration = {running_os = "linux"},
  control = {dispatch = function(f) f() end, execute = os.execute, sleep = nothing},
  database = {import = new_image},
  gui = {create_job = function() return job end},
  print = print, print_log = nothing, register_event = nothing,
  tags = {
    get_tags = function() return {{name = "darktable|format|dng"}, {name = "stage"}} end,
    attach = function(tag, image) table.insert(image.tags, tag.name) end,
  },
}
local images = {}
for i = 1, #arg do
  local image = new_image(arg[i])
  image.rating, image.title, image.red, image.latitude = 4, "Stage", true, 48.5
  images[i] = image
end
require("led").denoise(images, {"--ratio", "1'0"})
"""
LED = """
import json, os, sys
words = sys.argv[1:]
print("denoising: 0.2 of 0.4, 3 MP/min, 0:10 left", file=sys.stderr)
out = words[words.index("--out") + 1]
assert words[:2] == ["denoise", "--json"] and words[words.index("--ratio") + 1] == "1'0"
for path in words[words.index("1'0") + 1:]:
    stem = os.path.basename(path).removesuffix(".dng")
    outputs = [os.path.join(out, stem + "-led.dng")]
    print(json.dumps({"file": path, "status": "done", "outputs": outputs}))
print(json.dumps({"file": None, "status": "failed", "error": 'no "x"', "outputs": []}))
"""


def run_script(tmp_path, monkeypatch, led, photos):
    """Return the shares of progress that the plug-in shows with this led, and all it prints."""
    (tmp_path / "led.py").write_text(led)
    words = ", ".join(f'"{word}"' for word in (sys.executable, tmp_path / "led.py"))
    text = SCRIPT.read_text().replace('PROGRAM = {"led"}', f"PROGRAM = {{{words}}}")
    (tmp_path / "led.lua").write_text(text)
    (tmp_path / "darktable.lua").write_text(DARKTABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    done = subprocess.run(
        [str(LUA), "darktable.lua", *photos], check=True, capture_output=True, text=True
    )
    return [float(share) for share in re.findall(r"percent\s+(\S+)", done.stdout)], done.stdout


@needs_lua
@pytest.mark.skipif(os.name == "nt", reason="paths of the fake darktable")
def test_the_script_does_not_count_the_configuration_as_a_photo(tmp_path, monkeypatch):
    led = 'print(\'{"configuration": {"luma": {"value": "1", "from": "led.toml"}}}\')\n'
    led += 'print(\'{"file": null, "status": "failed", "outputs": []}\')'
    shown, _ = run_script(tmp_path, monkeypatch, led, ["/a.dng", "/b.dng", "/c.dng", "/d.dng"])
    assert shown[-1] == 0.25


@needs_lua
@pytest.mark.skipif(os.name == "nt", reason="the names are not possible on Windows")
def test_the_script_denoises_files_of_any_name_and_groups_them(tmp_path, monkeypatch):
    stems = [b"IMG_1", b"it's $(touch x) `touch x` \"&;", b"a\nb\\n\\", "\u00fc\U0001f4f7".encode()]
    stems += [b"\xff latin", b"\x01\x02", b"-q"]
    folder = os.fsencode(tmp_path / "two sets' \\u0041")
    photos = [os.path.join(folder, stem + b".dng") for stem in stems]
    shown, text = run_script(tmp_path, monkeypatch, LED, photos)
    assert shown == [0.5, 1.0]
    assert f'led: {len(stems)} of {len(stems)} photos denoised and grouped; no "x"' in text
    expected = [
        field
        for stem in stems
        for field in (
            stem + b"-led.dng",
            stem + b".dng",
            b"4",
            b"Stage",
            b"true",
            b"48.5",
            b"stage",
        )
    ]
    assert (tmp_path / "log").read_bytes().split(b"\0")[:-1] == expected
    assert not (tmp_path / "x").exists()
