-- A column for what udpprobe said: the verdict of each packet that `udpprobe analyze -w` commented.
--
-- Put this file into Wireshark's plugin folder (Help > About > Folders), or load it once:
--   wireshark -X lua_script:udpprobe.lua annotated.pcapng
--   tshark -X lua_script:udpprobe.lua -r annotated.pcapng -Y udpprobe.verdict -T fields -e frame.number -e udpprobe.verdict
-- Then add a column of the field udpprobe.verdict, or filter: udpprobe.role == "error" && udpprobe.verdict == "loop".

local udpprobe = Proto("udpprobe", "udpprobe's verdict")
local verdict = ProtoField.string("udpprobe.verdict", "Verdict")
local role = ProtoField.string("udpprobe.role", "Role")
udpprobe.fields = {verdict, role}

local comments = Field.new("frame.comment")
local words = {}
for word in ("refused rejected too-big loop expired prohibited unreachable reassembly quenched malformed"):gmatch("%S+") do
  words[word] = true
end

local function said(comment)
  if comment:find("^too big for its path") then return "too-big", "datagram" end
  if comment:find("^first pass of a loop") or comment:find("^last pass of a loop") then return "loop", "pass" end
  local word = comment:match("^(%S+) ")
  if not words[word] then return nil end
  return word, comment:find("would reach: ", 1, true) and "error" or "datagram"
end

function udpprobe.dissector(_, _, tree)
  for _, field in ipairs({comments()}) do
    local what, who = said(tostring(field.value))
    if what then
      local own = tree:add(udpprobe, "udpprobe: " .. what)
      own:add(verdict, what):set_generated()
      own:add(role, who):set_generated()
      return
    end
  end
end

register_postdissector(udpprobe)
