// Files that are there whole or not at all: written under a temporary name in the same folder,
// synced to disk, renamed, folder synced. Every return code counts, that of close() too: a full
// disk may show there first. An error names the errno and leaves the old file, and no temporary
// one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace elastron {

// The temporary name next to a path: "<folder>/.<name>.tmp".
std::string temporary_name(const std::string& path);

// Removes the file in the end, unless it was published under another name by then. An empty path:
// nothing to remove.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

 private:
  std::string path_;
};

// All of the following throw Error of kind `kind`, naming path and errno.

// fsync of a file or folder by name.
void sync_file(const std::string& path, ExitCode kind = ExitCode::input);
void sync_folder(const std::string& folder, ExitCode kind = ExitCode::input);

// Makes the folder and those above it, and syncs the one it was made in.
void make_folder(const std::string& folder, ExitCode kind = ExitCode::usage);

// Throws when the disk (or a quota, or the process's limit) has no room for a file of that many
// bytes at `path`, which must not exist. Takes the room for a moment; leaves nothing. Libraries
// that write the file themselves say less about what went wrong, and later.
void check_room(const std::string& path, uint64_t bytes, ExitCode kind = ExitCode::input);

// Throws where no file can be written at `path`: before the work of which it would hold the result.
void check_place(const std::string& path, ExitCode kind = ExitCode::input);

// Syncs `temporary`, renames it to `path`, syncs the folder.
void publish_file(const std::string& temporary, const std::string& path,
                  ExitCode kind = ExitCode::input);

// Writes the pieces to the temporary name and publishes it.
void write_file_atomically(const std::string& path,
                           std::span<const std::span<const std::byte>> pieces,
                           ExitCode kind = ExitCode::input);
void write_text_atomically(const std::string& path, std::string_view text,
                           ExitCode kind = ExitCode::input);

}  // namespace elastron
