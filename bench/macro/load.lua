-- What wrk sends, and its result as one line of JSON.
-- Arguments: hosts paths headers body close suffix variety chunked lines preface digest
--   hosts, paths  how many of each; requests are spread evenly over all pairs
--   headers       how many further request headers
--   body          bytes of a POST body, 0 for GET
--   close         1: a connection per request
--   suffix        last component of the path, selects the backend's answer
--   variety       how many different requests there are at least, told apart by their query: what
--                 wrk itself does then costs the same for few routes and for many
--   chunked       1: the body goes in two chunks instead of with its length
--   lines         further header lines, separated by |
--   preface       what stands in front of each request, without its line end
--   digest        file of an opaque and of nonces, one per line: requests of a digest client that
--                 takes the nonces in turn, so that requests which overtake each other do no harm
local requests = {}
local position = 0
local step = 1
local signed = nil
local preface = nil
local verified = 0

local function sign(file)
   local ffi = require("ffi")
   ffi.cdef("unsigned char *MD5(const unsigned char *data, size_t size, unsigned char *digest);")
   local found, crypto = pcall(ffi.load, "libcrypto.so.3")
   if not found then crypto = ffi.load("crypto") end
   local digest = ffi.new("unsigned char[16]")
   local hex = {}
   for i = 0, 255 do hex[i] = string.format("%02x", i) end
   local function md5(text)
      local parts = {}
      crypto.MD5(text, #text, digest)
      for i = 0, 15 do parts[i + 1] = hex[digest[i]] end
      return table.concat(parts)
   end
   local nonces = {}
   for line in io.lines(file) do nonces[#nonces + 1] = line end
   local opaque = table.remove(nonces, 1)
   local secret = md5("ann:traefik:secret")
   local count = 0
   return function(head)
      local nonce = nonces[count % #nonces + 1]
      local number = string.format("%08x", math.floor(count / #nonces) + 1)
      count = count + 1
      local uri = head:match("^GET (%S+)")
      local response = md5(secret .. ":" .. nonce .. ":" .. number .. ":c:auth:" .. md5("GET:" .. uri))
      return head:sub(1, -3) .. 'Authorization: Digest username="ann", realm="traefik", nonce="' ..
         nonce .. '", uri="' .. uri .. '", response="' .. response .. '", opaque="' .. opaque ..
         '", algorithm="MD5", qop=auth, nc=' .. number .. ', cnonce="c"\r\n\r\n'
   end
end

function init(args)
   local hosts, paths = tonumber(args[1]), tonumber(args[2])
   local headers, body = tonumber(args[3]), tonumber(args[4])
   local fields = ""
   local typical = {
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
      "Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br",
      "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes",
      "Referer: http://h0.example/p0/index.html", "Upgrade-Insecure-Requests: 1",
      "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin",
      "Cache-Control: no-cache", "Pragma: no-cache",
   }
   for i = 1, headers do fields = fields .. typical[i] .. "\r\n" end
   if args[5] == "1" then fields = fields .. "Connection: close\r\n" end
   for line in string.gmatch(args[9] or "", "[^|]+") do fields = fields .. line .. "\r\n" end
   if (args[10] or "") ~= "" then preface = args[10] .. "\r\n" end
   if (args[11] or "") ~= "" then signed = sign(args[11]) end
   local content = ""
   if body > 0 then
      if args[8] == "1" then
         local half = math.floor(body / 2)
         fields = fields .. "Transfer-Encoding: chunked\r\n"
         content = string.format("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half,
            string.rep("x", half), body - half, string.rep("x", body - half))
      else
         fields = fields .. "Content-Length: " .. body .. "\r\n"
         content = string.rep("x", body)
      end
   end
   local variety = tonumber(args[7] or 0)
   local count = body > 65536 and 1 or math.max(hosts * paths, variety)
   for i = 0, count - 1 do
      local host, path = i % hosts, math.floor(i / hosts) % paths
      local query = variety > 0 and string.format("?%06d", i) or ""
      requests[i + 1] = (body > 0 and "POST" or "GET") .. " /p" .. path .. "/" .. args[6] .. query ..
         " HTTP/1.1\r\nHost: h" .. host .. ".example\r\n" .. fields .. "\r\n" .. content
   end
   -- a stride prime to the count visits everything without neighbours following each other
   step = count > 20 and 7919 or 1
end

function request()
   position = (position + step) % #requests
   local chosen = requests[position + 1]
   if signed then return signed(chosen) end
   verified = verified + 1  -- wrk looks at the first one itself, and knows no preface
   return preface and verified > 1 and preface .. chosen or chosen
end

function done(summary, latency, rate)
   local errors = summary.errors
   io.write(string.format(
      "RESULT {\"requests\": %d, \"seconds\": %f, \"p50_us\": %f, \"p99_us\": %f, " ..
      "\"max_us\": %f, \"errors\": %d, \"bad_status\": %d, \"bytes\": %d}\n",
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      latency.max, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
      summary.bytes))
end
