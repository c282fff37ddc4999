"""From files to arrays: types of images, depths, pages, label maps, tables of classes."""
