// Checks of files that tasks are read from.
#pragma once
#include <cstdint>
#include <string>

namespace elastron::benchmark {

// Of a file's bytes.
std::string file_checksum(const std::string& path);
// InputError where a set has no row.
void expect_rows(int64_t rows, const std::string& path);

}  // namespace elastron::benchmark
