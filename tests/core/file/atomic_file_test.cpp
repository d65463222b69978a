#include "core/file/atomic_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>

#include "core/file/exists.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

namespace fs = std::filesystem;

TEST(CheckPlace, SaysBeforehandWhatWritingWouldSay) {
  const test::Scratch folder;
  EXPECT_NO_THROW(check_place(folder / "new.json"));
  EXPECT_TRUE(fs::is_empty(folder.path())) << "it leaves something";
  const std::string old = folder.write("old.json", "old");
  // What a killed process left is not in the way.
  folder.write(".old.json.tmp", "half");
  EXPECT_NO_THROW(check_place(old));
  EXPECT_EQ(fs::file_size(old), 3u);
  fs::create_directory(folder / "folder");
  for (const std::string& path : {folder / "none/new.json", folder / "folder"}) {
    try {
      check_place(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      // It names the file that was asked for.
      EXPECT_NE(std::string(error.what()).find("(" + path + ")"), std::string::npos)
          << error.what();
    }
    EXPECT_THROW(write_text_atomically(path, "x"), Error) << path;
  }
}

TEST(Exists, FilesAndFolders) {
  const test::Scratch folder;
  EXPECT_TRUE(exists(folder.path()));
  EXPECT_TRUE(exists(folder.write("a", "")));
  EXPECT_FALSE(exists(folder / "b"));
  EXPECT_FALSE(exists(folder / "a/b"));
}

}  // namespace
}  // namespace elastron
