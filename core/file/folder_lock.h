// One process at a time works in a folder.
#pragma once
#include <string>

namespace elastron {

class FolderLock {
 public:
  static constexpr const char* kFile = "run.lock";

  // Locks `folder`, which exists, by a record lock on its file run.lock. Such a lock belongs to the
  // process: it ends with it, however that ends, and forked children do not have it. For the same
  // reason nothing else here may open the file: closing it would end the lock.
  //
  // Throws UsageError naming the process that has the folder, if that one does not end within two
  // seconds. Warns and goes on where the file system has no locks.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

// Whether another process has the folder locked; takes nothing and changes nothing. False where
// that cannot be known. Not for the process that holds the lock, which would lose it.
bool folder_in_use(const std::string& folder);

}  // namespace elastron
