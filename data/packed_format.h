// Names and checksums of packed files, shared by their writer and their reader.
#pragma once
#include <cstdint>
#include <string>

#include "core/error.h"
#include "data/packed_file.h"

namespace elastron::data::packed {

inline constexpr const char* kFormat = "elastron-packed";
inline constexpr int64_t kFormatVersion = 1;

inline constexpr const char* kInputIds = "/input_ids";
inline constexpr const char* kPackOffsets = "/pack_offsets";
inline constexpr const char* kPackDigests = "/pack_xxh3_128";
inline constexpr const char* kDocumentOffsets = "/document_offsets";
inline constexpr const char* kUserLengths = "/user_lengths";
inline constexpr const char* kAnswerOffsets = "/answer_offsets";
inline constexpr const char* kAnswerLengths = "/answer_lengths";
inline constexpr const char* kTaskIds = "/task_ids";
inline constexpr const char* kKindIds = "/kind_ids";
inline constexpr const char* kSampleIds = "/sample_ids";
inline constexpr const char* kKinds = "/kinds";
inline constexpr const char* kChecksums = "/checksums";

// Over the header and the list of checksums: the one that guards the others.
std::string header_checksum(const PackedHeader& header, const std::string& checksums);

// A line of /checksums.
inline std::string checksum_line(const std::string& sum, const std::string& dataset) {
  return sum + " " + dataset + "\n";
}

// Runs `f`. HDF5's errors are of kind checkpoint and speak of those; thrown again as errors of kind
// input.
[[noreturn]] void rethrow_as_input(const Error& error);
template <class F>
decltype(auto) reading(F&& f) {
  try {
    return f();
  } catch (const Error& error) {
    if (error.kind() == ExitCode::checkpoint) rethrow_as_input(error);
    throw;
  }
}

}  // namespace elastron::data::packed
