{
  "targets": [
    {
      "target_name": "node_vfio",
      "sources": ["<!@(node -p \"require('./native/sources.json').join(' ')\")"],
      "include_dirs": [".", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra", "<!@(node -p \"process.env.NODE_VFIO_WERROR ? '-Werror' : '-Wno-error'\")"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc": ["-std=c++20", "-fexceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20", "-std=c++17"]
    }
  ]
}
