// Reading checkpoints of unknown origin. HDF5 is not hardened: it has crashed on hostile files
// before. Such a file is first read in a child process with limits on time, memory and output, so
// that a crash of the library is an error here.
#pragma once
#include <functional>
#include <string>

namespace elastron::train {

// What a checkpoint holds, for people. Every checksum is verified. Throws Error of kind checkpoint.
std::string inspect_checkpoint(const std::string& path);

// Throws Error of kind checkpoint unless the library survives reading the file's structure (no
// data), which must be that of a checkpoint.
void probe_checkpoint(const std::string& path);

// The machinery: `read`'s result, computed in a child process. `path` is for messages. An Error
// thrown by `read` is thrown here; a crash, a hang or a lack of memory become one of kind
// checkpoint.
std::string read_in_child(const std::string& path, const std::function<std::string()>& read);

}  // namespace elastron::train
