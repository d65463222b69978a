// A world of one in a plain process: exits with 0, or with the code of abort() given as argument.
#include <cstdio>
#include <cstdlib>

#include "core/error.h"
#include "parallel/mesh.h"
#include "parallel/world.h"

int main(int argc, char** argv) {
  using namespace elastron;
  try {
    parallel::World world;
    if (world.size() != 1 || world.rank() != 0 || world.node_size() != 1) return 1;
    const parallel::Mesh mesh(world, {});
    mesh.world().barrier();
    if (world.library().find("MPI") == std::string::npos) return 1;
    if (argc > 1) world.abort(static_cast<ExitCode>(std::atoi(argv[1])));
    world.finalize();
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.kind());
  }
}
