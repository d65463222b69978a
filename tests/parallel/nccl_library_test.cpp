// Finding NCCL. The real library, where the machine has it, loads without a GPU.
#include "parallel/nccl_library.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace elastron::parallel {
namespace {

class FromFile {
 public:
  explicit FromFile(const char* file) { setenv("ELASTRON_NCCL_LIBRARY", file, 1); }
  ~FromFile() { unsetenv("ELASTRON_NCCL_LIBRARY"); }
};

TEST(NcclLibrary, TheMachinesOwn) {
  std::string why;
  const auto library = NcclLibrary::open(why);
  if (library == nullptr && why.starts_with("no NCCL (")) GTEST_SKIP() << why;
  ASSERT_NE(library, nullptr) << why;
  EXPECT_EQ(library->version().substr(0, 2), "2.") << library->version();
  EXPECT_NE(library->get_last_error, nullptr);
  EXPECT_STREQ(library->get_error_string(ncclSuccess), "no error");
}

TEST(NcclLibrary, AFileThatIsNotThere) {
  const FromFile file("/none/libnccl.so.2");
  std::string why;
  EXPECT_EQ(NcclLibrary::open(why), nullptr);
  EXPECT_NE(why.find("no NCCL ("), std::string::npos) << why;
  EXPECT_NE(why.find("/none/libnccl.so.2"), std::string::npos) << why;
}

TEST(NcclLibrary, AnotherLibrary) {
  const FromFile file("libm.so.6");
  std::string why;
  EXPECT_EQ(NcclLibrary::open(why), nullptr);
  EXPECT_EQ(why, "libm.so.6 is no NCCL: it has no ncclGetVersion");
}

}  // namespace
}  // namespace elastron::parallel
