# Every dependency comes from a Debian 12 package; launch/setup.sh installs them.
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(yaml-cpp REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
# dnnl's own CMake package asks for OpenCL headers that the CPU does not need.
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(dnnl INTERFACE IMPORTED)
target_include_directories(dnnl INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(dnnl INTERFACE ${DNNL_LIBRARY})
find_package(Protobuf REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(GLOG REQUIRED IMPORTED_TARGET libglog)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# The parallel build of HDF5; FindHDF5 prefers the serial one when both are installed.
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-openmpi)

if(BUILD_TESTING)
  find_package(GTest REQUIRED)
endif()
if(ELASTRON_BENCH)
  find_package(benchmark REQUIRED)
endif()
