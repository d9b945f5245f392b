-- What wrk sends, and its result as one line of JSON.
-- Arguments: hosts paths headers body close suffix variety chunked
--   hosts, paths  how many of each; requests are spread evenly over all pairs
--   headers       how many further request headers
--   body          bytes of a POST body, 0 for GET
--   close         1: a connection per request
--   suffix        last component of the path, selects the backend's answer
--   variety       how many different requests there are at least, told apart by their query: what
--                 wrk itself does then costs the same for few routes and for many
--   chunked       1: the body goes in two chunks instead of with its length
local requests = {}
local position = 0
local step = 1

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
   return requests[position + 1]
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
