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
# Headers only. Its vector code is not used, and long to compile.
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
add_library(random123 INTERFACE IMPORTED)
target_include_directories(random123 INTERFACE ${RANDOM123_INCLUDE_DIR})
target_compile_definitions(random123 INTERFACE R123_USE_X86INTRIN_H=0 R123_USE_SSE=0
  R123_USE_SSE4_1=0 R123_USE_SSE4_2=0 R123_USE_AES_NI=0)
find_package(Protobuf REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(GLOG REQUIRED IMPORTED_TARGET libglog)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)

# The parallel build of HDF5; FindHDF5 prefers the serial one when both are installed.
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-openmpi)

if(BUILD_TESTING)
  find_package(GTest REQUIRED)
endif()
if(ELASTRON_BENCH)
  find_package(benchmark REQUIRED)
endif()
