-- For wrk: sends the tokens of a file in turn. After "--": the file, a path, and the bytes of a body (0: GET without).
-- Its last line is JSON.
local requests, at = {}, 0

function init(arguments)
  local size = tonumber(arguments[3])
  local body = size > 0 and string.rep("x", size) or nil
  for token in io.lines(arguments[1]) do
    local headers = { Authorization = "Bearer " .. token }
    requests[#requests + 1] = wrk.format(body and "POST" or "GET", arguments[2], headers, body)
    if body then break end -- one is enough, and each would hold the body
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  local form = '\nJSON {"requests":%d,"seconds":%f,"refused":%d,"failed":%d,"p50_us":%.0f,"p99_us":%.0f}\n'
  io.write(form:format(summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
