-- led for darktable: denoises the selected raws in the background, imports the results, groups
-- each with its original and gives it the original's stars, labels, tags, texts and location.
--
-- "led integrate darktable" installs this file and writes the command that starts led into
-- PROGRAM. Needs darktable 4.2 or newer, built with Lua. Apache-2.0, as led itself.

local dt = require "darktable"
if not dt.gui then return {} end -- darktable-cli reads luarc too

local PROGRAM = {"led"}
local OUTPUT_NAME = "{stem}-led{ext}" -- beside the original, so that both are in one film roll
local RESULT = "%-led%.dng$"
local WINDOWS = dt.configuration.running_os == "windows"
local MAX_COMMAND = WINDOWS and 6000 or 100000 -- bytes; shells take 8191 and 131072
local POLL_MS = 300
local LABELS = {"red", "yellow", "green", "blue", "purple"}
local TEXTS = {"title", "description", "creator", "publisher", "rights", "notes"}
local LOCATION = {"latitude", "longitude", "elevation"}

local busy = false

-- Return a word of a command line. File names are untrusted: nothing in one may end its quotes.
local function quote(word)
  if not WINDOWS then return "'" .. word:gsub("'", "'\\''") .. "'" end
  if word:find('["\r\n]') then error("a quote or a line break cannot be passed to led", 0) end
  -- Backslashes before the closing quote would hide it; a batch file expands %NAME%.
  return '"' .. word:gsub("\\+$", "%0%0"):gsub("%%", "%%%%") .. '"'
end

local function quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  return table.concat(quoted, " ")
end

-- Return the name of a new file that only this user can read.
local function temporary_file()
  local name = os.tmpname()
  if WINDOWS and not name:find("^%a:") then name = os.getenv("TEMP") .. name end
  return name
end

-- Return the file name at the end of a path.
local function file_name(path)
  return path:match(WINDOWS and "[^/\\]*$" or "[^/]*$")
end

-- Return one string of a line of JSON, found by a pattern; nil if there is none. led writes ASCII;
-- \udc80 to \udcff are the bytes of file names that are no UTF-8.
local function json_string(line, pattern)
  local text = line:gsub("\\\\", "\0b"):gsub('\\"', "\0q"):match(pattern)
  if not text then return nil end
  text = text:gsub("\\u(d[89ab]%x%x)\\u(d[c-f]%x%x)", function(high, low)
    return utf8.char(((tonumber(high, 16) & 0x3ff) << 10) + (tonumber(low, 16) & 0x3ff) + 0x10000)
  end)
  text = text:gsub("\\u(%x%x%x%x)", function(digits)
    local code = tonumber(digits, 16)
    return code & 0xff80 == 0xdc80 and string.char(code & 0xff) or utf8.char(code)
  end)
  text = text:gsub("\\(.)", {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"})
  return (text:gsub("\0(.)", {b = "\\", q = '"'}))
end

-- Call `use` with each complete line that a file has after `offset`; return the new offset.
local function read_lines(path, offset, use)
  local file = io.open(path, "rb")
  if not file then return offset end
  file:seek("set", offset)
  local text = file:read("a")
  file:close()
  for line in text:gmatch("([^\n]*)\n") do
    offset = offset + #line + 1
    use(line)
  end
  return offset
end

-- Return the image of a film roll that has this file name; nil if there is none.
local function find_in_film(film, name)
  for i = 1, #film do -- ipairs would ask for one more, which is an error here
    if film[i].filename == name then return film[i] end
  end
end

-- Import a result and group it with its original. One that was in the library keeps its own stars.
local function import(original, path)
  local known = find_in_film(original.film, file_name(path))
  local image = dt.database.import(path)
  if known then
    image:drop_cache() -- of the earlier result's thumbnail
  else
    image.rating = original.rating
    for _, label in ipairs(LABELS) do image[label] = original[label] end
    for _, field in ipairs(TEXTS) do
      if original[field] ~= "" then image[field] = original[field] end
    end
    for _, field in ipairs(LOCATION) do
      local value = original[field]
      if value and value == value then image[field] = value end -- NaN: unknown
    end
    for _, tag in ipairs(dt.tags.get_tags(original)) do
      if not tag.name:find("^darktable|") then dt.tags.attach(tag, image) end -- its own tags
    end
  end
  image:group_with(original)
end

-- Ask the led of a run to end after the photo that it is at. Windows has no such signal: there, led
-- ends when it has done the photos that it was started with.
local function stop(run)
  run.stopped = true
  if run.pid and not WINDOWS then os.execute(("kill -TERM %d"):format(run.pid)) end
end

-- Return the shell command that runs led with its results and messages in two files, and the batch
-- file that holds it on Windows. The first message is the process id, for `stop`.
local function shell_command(words, results, messages)
  local command = ("%s >%s 2>>%s"):format(quote_all(words), quote(results), quote(messages))
  if not WINDOWS then
    return ("echo $$ >%s; exec %s </dev/null"):format(quote(messages), command)
  end
  local batch = temporary_file() .. ".bat"
  local file = assert(io.open(batch, "wb"))
  file:write("@echo off\r\nchcp 65001 >nul\r\n", command, " <nul\r\n")
  file:close()
  return '"' .. batch .. '"', batch
end

-- Show that so many photos of a run are done; never goes back.
local function show_progress(run, photos)
  run.share = math.max(run.share, math.min(photos / run.total, 1))
  run.job.percent = run.share
end

-- Denoise `count` photos of one folder; `originals` has their images by file name.
local function run_led(run, words, originals, count)
  local results, messages = temporary_file(), temporary_file()
  local command, batch = shell_command(words, results, messages)
  local read, heard, before = 0, 0, run.done
  local status
  dt.control.dispatch(function() status = dt.control.execute(command) end)
  local function on_result(line)
    local name = file_name(json_string(line, '"file": "(.-)"') or "")
    local output = json_string(line, '"outputs": %["(.-)"')
    local original = originals[name]
    if line:find('"status": "', 1, true) then run.done = run.done + 1 end -- else the configuration
    if original and output then
      local imported, problem = pcall(import, original, output)
      if imported then run.imported = run.imported + 1 else run.problem = tostring(problem) end
    end
    run.problem = json_string(line, '"error": "(.-)"') or run.problem
  end
  local function on_message(line)
    if not run.pid then run.pid = not WINDOWS and math.tointeger(tonumber(line)) or nil end
    local part, whole = line:match("^denoising: ([%d.]+) of ([%d.]+)") -- megapixels
    if part and tonumber(whole) > 0 then show_progress(run, before + count * part / whole) end
    run.problem = line:match("^led: (.*)") or run.problem
    dt.print_log("led: " .. line)
  end
  repeat
    dt.control.sleep(POLL_MS)
    local ended = status -- before the last lines are read
    heard = read_lines(messages, heard, on_message)
    read = read_lines(results, read, on_result)
    show_progress(run, run.done)
    if dt.control.ending and not run.stopped then stop(run) end
  until ended or dt.control.ending
  run.pid = nil
  for _, path in ipairs({results, messages, batch}) do os.remove(path) end
end

-- Denoise photos folder by folder, and as many at once as one command line holds.
local function run_folders(run, images, options)
  local folders, order = {}, {}
  for _, image in ipairs(images) do
    if not folders[image.path] then
      folders[image.path] = {}
      table.insert(order, image.path)
    end
    table.insert(folders[image.path], image)
  end
  for _, folder in ipairs(order) do
    local first = 1
    while folders[folder][first] and not run.stopped do
      local words, originals = {table.unpack(PROGRAM)}, {}
      local more = {"denoise", "--json", "--format", "dng", "--out", folder, "--name", OUTPUT_NAME}
      for _, word in ipairs(more) do table.insert(words, word) end
      for _, word in ipairs(options) do table.insert(words, word) end
      local size = #quote_all(words)
      local last = first
      repeat
        local image = folders[folder][last]
        local path = folder .. (WINDOWS and "\\" or "/") .. image.filename
        if not originals[image.filename] then -- a duplicate has the same file
          originals[image.filename] = image
          table.insert(words, path)
          size = size + #quote(path) + 1
        end
        last = last + 1
      until not folders[folder][last] or size > MAX_COMMAND - 1000
      run_led(run, words, originals, last - first)
      first = last
    end
  end
end

-- Denoise images in the background; `options` are words for "led denoise". May be called from
-- other scripts: require("led").denoise(dt.gui.selection(), {"--ratio", "10"}).
local function denoise(images, options)
  if busy then return dt.print("led is still at work") end
  local originals = {}
  for _, image in ipairs(images) do
    if not image.filename:find(RESULT) then table.insert(originals, image) end
  end
  if #originals == 0 then return dt.print("led: select some raws first") end
  busy = true
  local run = {done = 0, imported = 0, share = 0, total = #originals}
  run.job = dt.gui.create_job(("led: denoising %d photos"):format(run.total), true, function()
    stop(run)
  end)
  local ended, problem = pcall(run_folders, run, originals, options or {})
  run.job.valid = false
  busy = false
  if not ended then run.problem = tostring(problem) end
  local text = ("led: %d of %d photos denoised and grouped"):format(run.imported, run.total)
  if run.problem then text = text .. "; " .. run.problem end
  dt.print(text)
  dt.print_log(text)
end

local widgets -- of the panel, once it is made

local function denoise_selected()
  local options = {}
  if widgets then
    local strength = ("%.2f"):format(widgets.strength.value):gsub(",", ".") -- in some locales
    local ratio, quality = widgets.ratio.value, widgets.quality.value
    options = {"--strength", strength, "--ratio", ratio, "--quality", quality}
  end
  denoise(dt.gui.action_images, options)
end

local function make_panel()
  widgets = {
    strength = dt.new_widget("slider") {
      label = "strength", tooltip = "0 leaves the noise, 1 removes all of it",
      hard_min = 0, hard_max = 1, soft_min = 0, soft_max = 1, step = 0.05, digits = 2,
    },
    ratio = dt.new_widget("combobox") {
      label = "ratio", editable = true,
      tooltip = "brighten by this factor: 1 leaves the brightness, auto asks the histogram",
      "1", "auto", "2", "4", "10", "30", "100", "300",
    },
    quality = dt.new_widget("combobox") {
      label = "quality", tooltip = "fast is a little worse, best is four times slower",
      "fast", "standard", "best",
    },
  }
  -- Not above: fields are set in no order, and the range and the entries must come first.
  widgets.strength.value = 1
  widgets.quality.selected = 2
  local panel = dt.new_widget("box") {
    orientation = "vertical", widgets.strength, widgets.ratio, widgets.quality,
    dt.new_widget("button") {
      label = "denoise selected raws", clicked_callback = denoise_selected,
      tooltip = "writes DNGs beside the originals, and groups them",
    },
  }
  local place = {[dt.gui.views.lighttable] = {"DT_UI_CONTAINER_PANEL_RIGHT_CENTER", 20}}
  dt.register_lib("led", "led: denoise raws", true, false, place, panel)
end

-- Making widgets before darktable's main loop runs can hang darktable (its issues 5568 and 22357).
-- Once the pointer is over a photo in the lighttable, the loop runs; the pause is for a photo named
-- on the command line, which counts as being under the pointer before that.
local asked = false
dt.register_event("led-panel", "mouse-over-image-changed", function()
  if asked or dt.control.ending then return end
  asked = true
  dt.control.sleep(1000)
  asked = dt.gui.current_view().id == "lighttable"
  if asked then make_panel() end
end)
dt.register_event("led-denoise", "shortcut", denoise_selected, "led: denoise selected raws")

return {denoise = denoise}
