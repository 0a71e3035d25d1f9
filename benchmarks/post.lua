-- wrk: POST one body over and over; counts answers that are not 200.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
for name, value in os.getenv("BENCH_HEADERS"):gmatch("([^:\n]+): ([^\n]+)\n") do
  wrk.headers[name] = value
end
file:close()
