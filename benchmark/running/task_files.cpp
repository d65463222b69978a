#include "benchmark/running/task_files.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/file/input_file.h"

namespace elastron::benchmark {

std::string file_checksum(const std::string& path) {
  const InputFile file(path);
  Checksum sum;
  std::vector<std::byte> part(size_t(1) << 20);
  for (uint64_t at = 0; at < file.size(); at += part.size()) {
    const auto now = std::span(part).first(std::min<uint64_t>(part.size(), file.size() - at));
    file.read_at(at, now);
    sum.add(std::span<const std::byte>(now));
  }
  return sum.digest();
}

void expect_rows(int64_t rows, const std::string& path) {
  if (rows == 0) throw InputError("the set has no rows", path, "give the benchmark's own file");
}

}  // namespace elastron::benchmark
