// Checks of files that tasks are read from.
#pragma once
#include <cstdint>
#include <string>

#include "core/error.h"

namespace elastron::benchmark {

// Of a file's bytes.
std::string file_checksum(const std::string& path);
// InputError where a set has no row.
void expect_rows(int64_t rows, const std::string& path);

// InputError where `has(i)`, whether a file of predictions has row i of the data, is not so for exactly
// the first `rows`.
template <class Has>
int64_t first_rows_done(size_t rows, const std::string& path, const Has& has) {
  for (size_t i = 0; i < rows; ++i) {
    if (!has(i)) {
      throw InputError("predictions that are not of the data's first rows", path,
                       "predict into another folder, or remove the file");
    }
  }
  return int64_t(rows);
}

}  // namespace elastron::benchmark
