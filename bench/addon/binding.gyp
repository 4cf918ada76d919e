{
  "targets": [
    {
      "target_name": "bench",
      "sources": ["addon.cc"],
      "include_dirs": ["../baseline"],
      "defines": ["NAPI_VERSION=9"],
      "cflags": ["-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"],
      "cflags_cc": ["-std=c++20"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-std=c++17"],
      "libraries": ["-pthread"]
    }
  ]
}
