// What --json FILE asks for.
#pragma once
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace elastron::bench {

// -> the exit code. An empty path: nothing to write.
inline int write_json(const std::string& path, const nlohmann::json& figures) {
  if (path.empty()) return 0;
  std::ofstream file(path);
  file << figures.dump(2) << "\n";
  if (file.flush()) return 0;
  std::fprintf(stderr, "error: cannot write (%s): give a path that can be written\n", path.c_str());
  return 2;
}

}  // namespace elastron::bench
