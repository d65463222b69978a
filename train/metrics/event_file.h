// TensorBoard event files: protobuf messages in TFRecord frames (length, its masked CRC-32C,
// payload, its masked CRC-32C; little endian).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/file/append_file.h"

namespace elastron::train {

// CRC-32C (Castagnoli), RFC 3720 B.4: of "123456789" it is 0xE3069283.
uint32_t crc32c(std::string_view bytes);
// One TFRecord.
std::string framed(std::string_view payload);

class EventFile {
 public:
  // A new file "events.out.tfevents.<seconds>.<host>.<process>" in `folder`, which is made if need
  // be. Viewers drop what earlier files in the folder say of steps after `first_step`: a resumed
  // run replaces it. Throws UsageError.
  EventFile(const std::string& folder, int64_t first_step);

  // One point for each tag. Never throws for a failing disk (AppendFile).
  void scalars(int64_t step, const std::map<std::string, double>& values);
  const std::string& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace elastron::train
