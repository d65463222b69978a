// main() of tests that run on several ranks. Any rank's failure makes every rank's exit non-zero,
// so that mpirun reports it; only rank 0 prints passing tests.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  ::testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  struct FailurePrinter : ::testing::EmptyTestEventListener {
    int rank = 0;
    void OnTestPartResult(const ::testing::TestPartResult& result) override {
      if (!result.failed()) return;
      std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank,
                   result.file_name() ? result.file_name() : "?", result.line_number(),
                   result.message());
    }
  };
  if (rank != 0) {
    auto* printer = new FailurePrinter;
    printer->rank = rank;
    listeners.Append(printer);
  }
  int failed = RUN_ALL_TESTS();
  int any_failed = 0;
  MPI_Allreduce(&failed, &any_failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any_failed;
}
