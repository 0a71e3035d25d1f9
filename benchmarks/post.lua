-- wrk: POST one file as the raw body; counts answers that are not 200.
local file = assert(io.open(os.getenv("BENCH_IMAGE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
