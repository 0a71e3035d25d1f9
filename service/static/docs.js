"use strict";

// The documentation is as light or dark as the other pages.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.getElementById("api").setAttribute("theme", dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
