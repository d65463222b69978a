// Writes a packed file (data/packed_file.h). The same packs give the same bytes.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/packed_file.h"

namespace elastron::data {

struct PackedSizes {
  int64_t packs = 0, documents = 0, tokens = 0;
};

class PackedWriter {
 public:
  // Writes under the temporary name of `path` (core/file/atomic_file.h), after a check that the
  // disk has the room. Nothing is left of that if the writer is destroyed before publish(). Holds
  // some 4 MiB per column. Errors of this and the other functions are of kind input.
  PackedWriter(const std::string& path, const PackedSizes& sizes);
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  void add(const std::vector<Document>& pack);
  // After the last pack. Closes the file, reads it back and verifies every pack, syncs it to disk
  // and renames it to `path`, which it replaces. `on_verified` is called after each pack.
  void publish(const PackedHeader& header, const std::vector<std::string>& kinds,
               const std::function<void(int64_t pack)>& on_verified = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace elastron::data
