// What the fuzz targets share. Each file *_fuzz.cpp defines LLVMFuzzerTestOneInput: built with
// libFuzzer (-DELASTRON_FUZZ=ON), and with replay_main.cpp as a test that runs known inputs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"

namespace elastron::fuzz {

// A file in memory that holds the input, under a path.
class InputAsFile {
 public:
  explicit InputAsFile(std::string_view bytes);
  ~InputAsFile();
  InputAsFile(const InputAsFile&) = delete;
  InputAsFile& operator=(const InputAsFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

// A folder that lasts as long as the process.
const std::string& scratch_folder();

// Runs what reads the input. That it is refused as bad input is as good as that it is read;
// everything else that is thrown ends the process.
template <class F>
void expect_read_or_refused(const F& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.kind() != ExitCode::input) std::abort();
  }
}

// Ends the process unless `ok`.
inline void require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace elastron::fuzz
